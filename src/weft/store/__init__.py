"""What must last beyond a process: tables in a file of the data folder, or in PostgreSQL where several gateways share them.

Here belongs how tables are made, read and written. Not what is in them: whoever owns a table declares its
:class:`~weft.store.schema.Schema` beside the code that uses it, and writes its statements once, for both databases.
"""

from weft.store.database import Database, Row, Transaction, next_number
from weft.store.schema import Schema

__all__ = ["Database", "Row", "Schema", "Transaction", "next_number"]
