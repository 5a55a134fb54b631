"""Where images come from: embedded, torchvision's readers, a folder of files, the user's own factory."""
