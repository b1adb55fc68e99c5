"""Names of the Serve application and its deployments.

Imports nothing, because Serve's controller reads it with the autoscaling policy.
"""

APP_NAME = "weir"
GUARD = "GuardDeployment"
STREAM = "StreamWorker"
SHADOW = "ShadowGuard"
ASK = "Ask"
STREAM_GUARD = "StreamGuard"
DELTAS = "DeltaWorker"
