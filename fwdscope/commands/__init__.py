"""What the commands do, a package each, called as its command."""
