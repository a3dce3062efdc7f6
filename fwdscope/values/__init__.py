"""How one number of an output came about, from the numbers that a forward on a device computed."""
