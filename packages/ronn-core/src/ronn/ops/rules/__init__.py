"""Shape and type rules by family. A module registers its rules when it is imported: see ``ronn.ops.infer``."""
