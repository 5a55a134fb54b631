"""What must hold before anything is trained, at the first start and at a resume."""
