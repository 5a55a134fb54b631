"""What can go wrong with a server, and the exit code that says by whose fault."""


class ServerError(Exception):
    """Something failed while starting, running or checking; the message is meant for the user as it stands."""

    exit_code = 1


class WrongInput(ServerError):
    """What was asked for can't be, however often it is tried: an option, a file, a password, a missing driver."""

    exit_code = 2
