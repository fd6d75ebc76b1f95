"""What HRM needs that has no tensor in it: config, data, tasks, the training loop, pictures."""
