"""Networks by name: ours, torchvision's and the user's; `registry` builds and checks them."""
