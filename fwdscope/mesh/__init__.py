"""A network on a mesh of devices: the plan that shards it, and what one rank then holds, computes and sends.

torch shards: DTensor says what each rank has of a tensor and where ranks communicate, in one process with a fake
process group on meta, or in many. The operators below DTensor are counted as all others are. What wraps whole blocks
(fsdp, dp, pp) goes by rule over their parameters.
"""
