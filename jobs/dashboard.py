"""See lottery_ray/commands/dashboard.py."""

import sys

from lottery_ray.commands.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
