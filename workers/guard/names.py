"""Names of the Serve application, its deployments, and the figures of demand that two of them report.

Imports nothing, because Serve's controller reads it with the autoscaling policy.
"""

APP_NAME = "weir"
GUARD = "GuardDeployment"
STREAM = "StreamWorker"
SHADOW = "ShadowGuard"
ASK = "Ask"
STREAM_GUARD = "StreamGuard"
DELTAS = "DeltaWorker"
BACKLOG, ARRIVALS, COMPLETIONS = "backlog", "arrival_rate", "completion_rate"
