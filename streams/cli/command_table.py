"""The table of commands: name, one-line help and function of each; a module is imported only when its command runs.

A new command is one entry here and one function. The function's docstring begins with the same line of help
(`tests/streams/cli/test_command_table.py` compares them).
"""

from typing import NamedTuple

RUN, RECORDS, MODELS = "Running", "Topics and states", "Tokenizers and models"


class Group(NamedTuple):
    """A group of commands.

    Attributes:
        name: What is typed.
        help: One line.
        panel: Section of `sidestream --help`.
    """

    name: str
    help: str
    panel: str


class Entry(NamedTuple):
    """One command.

    Attributes:
        path: What is typed: `worker`, or group and name as in `state get`.
        target: `module:function`, relative to this package.
        help: One line.
        panel: Section of `sidestream --help`; empty for the commands of a group.
    """

    path: str
    target: str
    help: str
    panel: str = ""


GROUPS = (
    Group("broker", "Run a local Apache Kafka from its own jars.", RUN),
    Group("topics", "Create, list, check and describe the topics.", RECORDS),
    Group("dlq", "List, show and replay dead letters.", RECORDS),
    Group("import", "Turn listening histories and data sets into log folders.", RECORDS),
    Group("log", "Check log folders, and complete those made by hand.", RECORDS),
    Group("catalogue", "Bring the catalogue to what a full dump says.", RECORDS),
    Group("state", "Look at listeners' states.", RECORDS),
    Group("tokenizer", "Tokenizer versions: train, compare, report, roll out and back.", MODELS),
    Group("train", "Train a model on a tokenizer.", MODELS),
    Group("config", "See what is set, and where it comes from.", RUN),
)

# In the order in which help lists them.
COMMANDS = (
    Entry("up", "serving.worker:up", "Start a broker if none is given, make the topics, and run workers.", RUN),
    Entry("demo", "serving.demo:demo", "Show the whole loop: broker, worker, a played log, candidates.", RUN),
    Entry("worker", "serving.worker:worker", "Run one worker until SIGTERM, SIGHUP or Ctrl-C.", RUN),
    Entry("broker start", "serving.broker:start", "Start the local Kafka, or find it running; `broker stop` ends it."),
    Entry(
        "broker status",
        "serving.broker:status",
        "List the running local brokers; exit code 1 if none answers, or not the one asked for.",
    ),
    Entry("broker stop", "serving.broker:stop", "Stop the local Kafka of this folder, or the one that is named."),
    Entry("config show", "serving.config:show", "Show the merged settings with their sources; secrets are masked."),
    Entry(
        "config table",
        "serving.config:table",
        "Print all settings as a Markdown page: the everyday ones first, then all others.",
    ),
    Entry("topics create", "serving.topics:create", "Create the topics that are missing; existing ones never change."),
    Entry("topics list", "serving.topics:list_topics", "List the topics of the contract beside what the Kafka has."),
    Entry(
        "topics check", "serving.topics:check", "Compare the Kafka with the contract; exit code 1 if anything differs."
    ),
    Entry(
        "topics asyncapi", "serving.topics:asyncapi", "Print the topics as an AsyncAPI 3.1 document; needs no Kafka."
    ),
    Entry("send", "records.send:send", "Publish an event; ids and time are filled in where they are missing.", RECORDS),
    Entry("tail", "records.tail:tail", "Print the records of a topic as they come, until Ctrl-C.", RECORDS),
    Entry("replay", "records.replay:replay", "Play a log folder onto the topics; goes on where it stopped.", RECORDS),
    Entry("live", "records.live_items:show", "List the live items: SIDs, and how often they changed.", RECORDS),
    Entry("dlq list", "records.deadletters:list_letters", "List the dead letters that were not replayed yet."),
    Entry("dlq show", "records.deadletters:show", "Show all of one dead letter."),
    Entry("dlq replay", "records.deadletters:replay", "Send dead letters to the topics they came from, each once."),
    Entry(
        "catalogue reconcile",
        "records.reconcile:reconcile",
        "Publish items of a full dump that are new or changed, and remove those that it lacks.",
    ),
    Entry("record", "records.record:record", "Record listens, session-starts and items from the topics.", RECORDS),
    Entry("log check", "training.log_folders:check", "Check every row and reference of a log folder."),
    Entry("log seal", "training.log_folders:seal", "Write the manifest of a log folder that was made by hand."),
    Entry(
        "import jsonl", "training.own_data:jsonl", "Import plays from JSON: one object a play, fields by name or path."
    ),
    Entry("import csv", "training.own_data:csv", "Import plays from CSV: one row a play, columns by name."),
    Entry(
        "import listenbrainz",
        "training.own_data:listenbrainz",
        "Import ListenBrainz listens: dumps of all users, or the export of one.",
    ),
    Entry("import spotify", "training.own_data:spotify", "Import Spotify's extended streaming history."),
    Entry("import movielens", "training.own_data:movielens", "Import rating data in RecBole's atomic files."),
    Entry("import lastfm", "training.imports:lastfm", "Import HetRec 2011 Last.fm: who tagged which artist when."),
    Entry("import s3rec", "training.imports:s3rec", "Import a sequence file, with attributes and names if there."),
    Entry("import amazon18", "training.imports:amazon18", "Import Amazon 2018 Office: reviews with full item texts."),
    Entry("state get", "states.show:get_state", "Show a listener's state, as the worker that holds it sees it."),
    Entry("state verify", "states.offline:verify", "Compare changelog, pure fold of the log and local tables."),
    Entry("state tables", "states.offline:tables", "List the local tables, and delete those that no worker uses."),
    Entry("state rebase", "states.offline:rebase", "Carry the states over to a recreated topic or changelog."),
    Entry("state reset", "states.offline:reset", "Remove this machine's local tables; workers rebuild them."),
    Entry(
        "state skip-lost",
        "states.offline:skip_lost",
        "Go on after listens that retention deleted before they were folded.",
    ),
    Entry("state erase", "states.erase:erase", "Erase all listens of users up to now, and wait until it is done."),
    Entry("world", "training.world:world", "Make a log folder of an invented audio world.", MODELS),
    Entry("tokenizer train", "tokenizers.versions:train", "Fit a tokenizer on the training part of a log folder."),
    Entry("tokenizer compare", "tokenizers.versions:compare", "Compare two tokenizer versions, and map their SIDs."),
    Entry("tokenizer report", "tokenizers.report:report", "Write one HTML page on a tokenizer."),
    Entry("tokenizer rollout", "tokenizers.generations:rollout", "Prepare a tokenizer version, then switch to it."),
    Entry("tokenizer rollback", "tokenizers.generations:rollback", "Let the version that served before serve again."),
    Entry("tokenizer retire", "tokenizers.generations:retire", "Remove a version from catalogue, memory and disks."),
    Entry("tokenizer generations", "tokenizers.generations:generations", "List versions that serve or were ordered."),
    Entry("train model", "training.models:model", "Train, export and evaluate a model on the tokenizer of PAIR."),
    Entry("evaluate", "training.models:evaluate", "Ask a model for the held-out items of a log folder.", MODELS),
    Entry("export", "training.models:export", "Write the ONNX graph of PAIR/model anew from its weights.", MODELS),
    Entry(
        "export-encoder",
        "training.encoders:export_encoder",
        "Make the folder of a sentence encoder, to be named by --set tokenizer.encoder=DST.",
        MODELS,
    ),
)
