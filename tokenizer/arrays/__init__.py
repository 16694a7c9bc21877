"""Operations on arrays that give the same bits on every machine, in every batch: rounding, look-up, selection."""
