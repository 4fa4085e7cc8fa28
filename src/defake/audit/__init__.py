"""Whether a data set is about generation, or about file formats."""

from .findings import Audit, SourceConfounding, audit_manifest, zero_pixel_null
from .probes import Probe

__all__ = ["Audit", "Probe", "SourceConfounding", "audit_manifest", "zero_pixel_null"]
