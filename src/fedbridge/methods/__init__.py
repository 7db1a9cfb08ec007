"""The methods: one file for each way to learn and each way to fuse."""
