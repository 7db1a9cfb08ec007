"""The server's side: the large side's head, and one personal fusion per client."""
