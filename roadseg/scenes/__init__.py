"""Road scenes rendered from a seed, in KITTI's layout."""
