"""See lottery_ray/commands/stage.py."""

import sys

from lottery_ray.commands.stage import main

if __name__ == "__main__":
    sys.exit(main())
