"""See lottery_ray/commands/import_published.py."""

import sys

from lottery_ray.commands.import_published import main

if __name__ == "__main__":
    sys.exit(main())
