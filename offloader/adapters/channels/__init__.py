"""How owners are reached: one file per channel (notify.post.Channel)."""
