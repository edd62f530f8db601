"""See lottery_ray/commands/sweep.py."""

import sys

from lottery_ray.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
