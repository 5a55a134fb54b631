"""What all tests share: Ctrl-C reaches the processes that they start."""

import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and all their processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
