"""Lists to train rerankers on: from judgements, from teachers, from files."""
