"""The parts of HRM without a tensor: config, data, tasks, the training loop, pictures."""
