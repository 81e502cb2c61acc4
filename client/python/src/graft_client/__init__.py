"""graft from Python: jobs that fine-tune and evaluate GPT-2, and what they leave.

    from graft_client import Client

    client = Client()                                   # GRAFT_SERVER, else 127.0.0.1:50051
    client.upload("articles.jsonl", name="articles")
    job = client.submit(base_model="gpt2", train="articles", validation_fraction=0.1, method="lora", rank=8, max_steps=200)
    for event in job.watch():
        ...
    print(job.wait().metrics["eval/loss"])
"""

from graft_client.client import Client
from graft_client.errors import GraftError, JobFailed, StudyFailed
from graft_client.job import Job
from graft_client.study import Study

__all__ = ["Client", "GraftError", "Job", "JobFailed", "Study", "StudyFailed"]
