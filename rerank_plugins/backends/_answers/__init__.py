"""What others report or raise becomes replies or errors."""
