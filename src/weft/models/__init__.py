"""Fetches, verifies, prepares and caches model files: from a package index, the Hugging Face hub, a URL or a path.

Here belongs getting from a reference to files on disk that are what they must be. Loading them, and anything that
knows what is inside beyond converting it once, does not: that is the components' work.
"""

from weft.models.catalogue import Model as Model
from weft.models.fetch import Sources as Sources
from weft.models.package_index import IndexSettings as IndexSettings
from weft.models.package_index import index_settings as index_settings
from weft.models.progress import Progress as Progress
from weft.models.store import ModelStatus as ModelStatus
from weft.models.store import ModelStore as ModelStore
