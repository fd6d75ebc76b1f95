import hrm_mlx  # noqa: F401 - before any test imports mlx: it brings the fast BLAS
