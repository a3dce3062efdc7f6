"""What an expression may call: tables of functions and methods, their signatures, and how a name is resolved."""
