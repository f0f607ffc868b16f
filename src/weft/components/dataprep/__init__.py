"""Document preparation: files and links in, stored passages out.

Here belongs reading formats, splitting texts and accounting for every file. Keeping passages (``store``) and making
vectors (``embedding``) do not.
"""
