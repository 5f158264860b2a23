"""KITTI road: find it, fetch it, unpack it, verify it.

locate      which road data the workbook uses, and why
download    fetch the published archive, verify and unpack it
unpack      unpack an archive that somebody has put into the data folder
verify      compare each file with its published digest
"""

from roadseg.download.archive import URL, Verification, download, published_digests, unpack, verify
from roadseg.download.places import Location, locate

__all__ = ["URL", "Location", "Verification", "download", "locate", "published_digests", "unpack", "verify"]
