"""``rkface deploy``: copies a bundle and the runtime to boards over ssh, tests them there and switches to them."""
