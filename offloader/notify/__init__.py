"""What owners are told of their jobs: the message, its words, and its way to every channel."""
