"""A LightningModule trained by our loop: found, constructed, driven through an epoch, its logged values kept."""
