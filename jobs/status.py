"""See lottery_ray/commands/status.py."""

import sys

from lottery_ray.commands.status import main

if __name__ == "__main__":
    sys.exit(main())
