"""What keeps a store sound and small: verify and repair, retention and gc."""
