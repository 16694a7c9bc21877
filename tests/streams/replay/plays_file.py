"""A generated file in the shape of a ListenBrainz dump: listeners with tastes, artists with songs, sessions."""

import json
import random

S0 = 1_767_571_200


def write_listens(path, plays=20_000, listeners=200, seed=3):
    """Write so many listens, as players submit them: out of order, with ids here and there, a few damaged."""
    dice = random.Random(seed)
    songs = [[(f"Artist {a}", f"Song {a}-{n}") for n in range(8)] for a in range(60)]
    rows = []
    for listener in range(listeners):
        taste = dice.sample(range(60), 4)
        at = S0 + dice.randrange(86_400)
        for number in range(plays // listeners):
            artist, title = dice.choice(songs[dice.choice(taste)])
            at += 6 * 3_600 if number % 30 == 29 else 200
            info = {"duration_ms": 200_000, "media_player": "player"}
            mapping = {"recording_mbid": f"mbid-{title}"} if dice.random() < 0.5 else None
            track = {"artist_name": artist, "track_name": title, "additional_info": info, "mbid_mapping": mapping}
            rows.append({"user_name": f"listener-{listener}", "listened_at": at, "track_metadata": track})
    dice.shuffle(rows)
    rows[7]["listened_at"] = 0
    rows[8]["track_metadata"]["track_name"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
