"""Replies and errors, read from the reports and exceptions of servers and of clients."""
