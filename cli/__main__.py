"""`python -m hrm_cli`, which torchrun can start: torchrun --nproc-per-node 2 -m hrm_cli train …"""

import sys

from .main import run

if __name__ == "__main__":
    sys.exit(run())
