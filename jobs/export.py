"""See lottery_ray/commands/export.py."""

import sys

from lottery_ray.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
