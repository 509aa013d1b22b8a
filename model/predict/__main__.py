"""Runs the command."""

import signal
import sys

from model.predict.command import main
from model.predict.progress_bar import STOPPED

try:
    sys.exit(main())
except KeyboardInterrupt:  # before the first image
    sys.exit(STOPPED + signal.SIGINT)
