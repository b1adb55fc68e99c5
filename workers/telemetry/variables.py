"""What the standard `OTEL_…` variables say, as the specification reads them, and what of it we do not do.

A variable that is empty is as if it were not set, and names of exporters, protocols and propagators have no case. Reads
no environment.
"""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote, urlsplit

Signal = Literal["TRACES", "METRICS"]
SIGNALS: tuple[Signal, ...] = ("TRACES", "METRICS")
_PROTOCOLS = ("grpc", "http/protobuf")
_PROPAGATORS = {"tracecontext", "baggage"}
_SAMPLERS = ("always_on", "always_off", "traceidratio")
_KNOWN: Mapping[str, frozenset[str]] = {
    **{f"OTEL_{signal}_EXPORTER": frozenset({"otlp", "none"}) for signal in SIGNALS},
    "OTEL_LOGS_EXPORTER": frozenset({"none"}),
    "OTEL_EXPORTER_OTLP_PROTOCOL": frozenset(_PROTOCOLS),
    **{f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL": frozenset(_PROTOCOLS) for signal in SIGNALS},
    "OTEL_TRACES_SAMPLER": frozenset({*_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS)}),
    "OTEL_SDK_DISABLED": frozenset({"true", "false"}),
}
_PAIR = re.compile(r"\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+\s*=.*", re.DOTALL)
_OF_PAIRS = ("OTEL_RESOURCE_ATTRIBUTES", *(f"OTEL_EXPORTER_OTLP_{part}HEADERS" for part in ("", "TRACES_", "METRICS_")))
_LOGIN = re.compile(r"[^/?#]*@|[^:/?#]*://[^/?#]*@")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", *(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in SIGNALS))
_NOT_READ = ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE")


def service_name(role: str, otel: Mapping[str, str]) -> str:
    """OTEL_SERVICE_NAME, then `service.name` of OTEL_RESOURCE_ATTRIBUTES, then the role."""
    if named := otel.get("OTEL_SERVICE_NAME", "").strip():
        return named
    pairs = [item.partition("=") for item in otel.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")]
    return (
        next((unquote(value.strip()) for key, _, value in reversed(pairs) if key.strip() == "service.name"), "") or role
    )


def is_disabled(otel: Mapping[str, str]) -> bool:
    """The SDK is switched off as a whole."""
    return otel.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def otlp_protocol(signal: Signal, otel: Mapping[str, str]) -> str | None:
    """The protocol to export a signal by; None where OTLP is not among its exporters, or has no endpoint."""
    exporters = _listed(otel.get(f"OTEL_{signal}_EXPORTER", "")) or ["otlp"]
    if "otlp" not in exporters or endpoint(signal, otel) is None:
        return None
    return (_first(signal, "PROTOCOL", otel) or "grpc").lower()


def endpoint(signal: Signal, otel: Mapping[str, str]) -> str | None:
    """Where a signal goes, as it is set; nowhere where a login is in it, which exporters would log."""
    found = _first(signal, "ENDPOINT", otel)
    return None if found is None or _LOGIN.match(found) else found


def shown_endpoint(url: str) -> str:
    """An endpoint without its login, its query, or anything that is no address."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}"


def unsupported(otel: Mapping[str, str]) -> list[str]:
    """What is set and has not the effect that the specification gives it: by variable, and value if not secret."""
    found = [
        f"{name}={value}: {', '.join(sorted(known))} only"
        for name, known in _KNOWN.items()
        for value in _listed(otel.get(name, ""))
        if value not in known
    ]
    propagators = set(_listed(otel.get("OTEL_PROPAGATORS", "")))
    if propagators and propagators != _PROPAGATORS:
        found.append(f"OTEL_PROPAGATORS={','.join(sorted(propagators))}: tracecontext,baggage, both, only")
    pairs = {name: filter(str.strip, otel.get(name, "").split(",")) for name in _OF_PAIRS}
    no_pairs = [name for name, parts in pairs.items() if not all(map(_PAIR.fullmatch, parts))]
    found += [f"{name}: name=value is needed, comma-separated" for name in no_pairs]
    logins = [name for name in _ENDPOINTS if _LOGIN.match(otel.get(name, "").strip())]
    found += [f"{name}: a login in an address, which belongs into OTEL_EXPORTER_OTLP_HEADERS" for name in logins]
    return found + [f"{name}: not read" for name in _NOT_READ if otel.get(name)]


def _listed(value: str) -> list[str]:
    return [part.strip().lower() for part in value.split(",") if part.strip()]


def _first(signal: Signal, setting: str, otel: Mapping[str, str]) -> str | None:
    names = (f"OTEL_EXPORTER_OTLP_{signal}_{setting}", f"OTEL_EXPORTER_OTLP_{setting}")
    return next((otel[name].strip() for name in names if otel.get(name, "").strip()), None)
