"""`python -m cli`, which torchrun can start: torchrun --nproc-per-node 2 -m cli train …"""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
