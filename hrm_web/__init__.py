"""A page in the browser that shows a model at work, and the same for programs: `hrm serve`."""
