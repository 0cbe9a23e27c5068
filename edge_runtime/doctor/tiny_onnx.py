"""A model of five nodes: a float convolution and an int8 product, so that both kinds of kernels are run.

Made by tests/edge_runtime/doctor/test_probes.py (which checks the bytes); boards have no onnx package.
"""

TINY_ONNX = (
    "CAcSADqdAgoXCgF4EgFmIgRDYXN0KgkKAnRvGAGgAQIKMQoBcxIBdyIPQ29uc3RhbnRPZlNoYXBlKhgKBXZhbHVlKgwIARAB"
    "IgTNzMw9QgCgAQQKDwoBZgoBdxIBeSIEQ29udgouCgFyEgF2Ig9Db25zdGFudE9mU2hhcGUqFQoFdmFsdWUqCQgBEAMqAQFC"
    "AKABBAoYCgF4CgF2EgF6Ig1NYXRNdWxJbnRlZ2VyEgF0Kg0IBBAHOgQEBAMDQgFzKgsIAhAHOgIIBEIBclobCgF4EhYKFAgC"
    "EhAKAggBCgIIBAoCCAgKAggIYhsKAXkSFgoUCAESEAoCCAEKAggECgIIBgoCCAZiGwoBehIWChQIBhIQCgIIAQoCCAQKAggI"
    "CgIIBEIECgAQDQ=="
)
