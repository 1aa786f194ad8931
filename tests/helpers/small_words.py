"""Passages about fleas, markets and other things, of which a search for words finds a part.

The user wants to know how long the insect lives. Half of the passages that say so do not have the
query's word; a market has it.
"""

QUERY = "flea"
TEXTS = {
    **{f"known{i}": f"The flea, a parasite: its lifespan in weeks, part {i}." for i in range(6)},
    **{f"hidden{i}": f"A parasite has a lifespan of weeks, chapter {i}." for i in range(6)},
    **{
        f"market{i}": f"The flea market sells antiques and toys every Sunday, stall {i}."
        for i in range(6)
    },
    **{f"other{i}": f"Wolves hunt at night, tale {i}." for i in range(12)},
}
IDS, PASSAGES = list(TEXTS), list(TEXTS.values())
HIDDEN = {key for key in TEXTS if key.startswith("hidden")}


def key(query, passage):
    """The relevance that a good reranker sees."""
    number = int("".join(filter(str.isdigit, passage)))
    return float("lifespan" in passage) + len(passage) / 1e4 - number / 1e3
