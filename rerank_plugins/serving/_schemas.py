"""What goes over the wire: the fields that Jina's and Cohere's clients send and read."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StrictBool, Tag

from ..ranking import Report, ScoreKind
from ..text import Passage
from ._limits import ServiceSettings

SEARCH_UNIT = 100
"""Documents of one of Cohere's search units."""


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is whole, and neither "3" nor true is a number."""
    if isinstance(value, bool | str):
        raise ValueError("expected a whole number")  # noqa: TRY004 - pydantic reports ValueErrors
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _document_kind(value: object) -> str:
    return "object" if isinstance(value, dict | BaseModel) else "text"


class Document(BaseModel):
    """A document with a title. Other fields are allowed and not used."""

    model_config = ConfigDict(extra="allow")

    text: str
    title: str | None = None


class RerankRequest(BaseModel):
    """A query and the documents to rank. Fields that are not listed are ignored with a warning."""

    model_config = ConfigDict(extra="allow")

    query: str
    documents: list[Any]
    model: str | None = Field(default=None, description="One of this service's names.")
    top_n: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        default=None, description="How many results to return; all by default."
    )
    return_documents: StrictBool | None = Field(
        default=None, description="Whether results repeat their documents."
    )

    @property
    def passages(self) -> list[Passage]:
        """The documents as the library takes them."""
        return [
            Passage(d) if isinstance(d, str) else Passage(d.text, title=d.title or "")
            for d in self.documents
        ]

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of the fields that mean nothing here."""
        return tuple(self.model_extra or ())


def request_model(settings: ServiceSettings) -> type[RerankRequest]:
    """`RerankRequest` with the limits of a service, which its OpenAPI document then shows."""
    chars = settings.max_document_chars

    class LimitedDocument(Document):
        text: str = Field(max_length=chars, description="What is ranked.")
        title: str | None = Field(
            default=None, max_length=chars, description="For prompts that have a place for it."
        )

    kinds = (
        Annotated[str, Field(max_length=chars), Tag("text")]
        | Annotated[LimitedDocument, Tag("object")]
    )

    class LimitedRequest(RerankRequest):
        query: str = Field(
            max_length=settings.max_query_chars,
            description="What is asked. A blank one keeps the order.",
        )
        documents: list[Annotated[kinds, Discriminator(_document_kind)]] = Field(
            max_length=settings.max_documents, description="Texts, or objects with a text."
        )

    return LimitedRequest


class ReturnedDocument(BaseModel):
    """A document as it was sent."""

    text: str
    title: str | None = None


class Result(BaseModel):
    """One document's place."""

    index: int = Field(description="Its position in the request, from 0.")
    relevance_score: float = Field(description="From 0 to 1; never rises along the results.")
    score: float = Field(description="The strategy's own score, of the kind `score_kind`.")
    document: ReturnedDocument | None = None


class TokenUsage(BaseModel):
    """What the ranking cost, as Jina reports it and a little more."""

    total_tokens: int
    prompt_tokens: int
    generated_tokens: int
    calls: int = Field(description="Questions put to the model.")
    seconds: float


class ApiVersion(BaseModel):
    """As Cohere reports it."""

    version: str


class BilledUnits(BaseModel):
    """As Cohere counts: a search unit is a query with up to 100 documents."""

    search_units: int


class Tokens(BaseModel):
    """As Cohere reports them."""

    input_tokens: int
    output_tokens: int


class Meta(BaseModel):
    """What Cohere's clients read beside the results."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: Tokens
    warnings: list[str] | None = Field(
        default=None, description="Fields that were ignored, and what fell back."
    )


class RerankResponse(BaseModel):
    """The documents in order of relevance, best first, and how that came about."""

    id: str
    model: str
    results: list[Result]
    score_kind: ScoreKind = Field(description="What `score` is.")
    fallback: bool = Field(
        description="Whether any part of the order is the request's because something failed."
    )
    usage: TokenUsage
    report: Report = Field(description="What was repaired or fell back, by number or position.")
    meta: Meta


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    at: str = Field(description="Where in the body.")
    message: str


class Problem(BaseModel):
    """Why there is no ranking. Jina's clients show `detail`, Cohere's `message`."""

    id: str
    detail: str
    message: str = Field(description="The same as `detail`.")
    type: str = Field(description="The name of the error.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[Fault] | None = None


class Model(BaseModel):
    """A name that requests may use, as OpenAI lists it."""

    id: str
    object: str = "model"
    owned_by: str = "rerank-plugins"


class NamedModel(BaseModel):
    """The same, as Cohere lists it."""

    name: str
    endpoints: list[str] = ["rerank"]


class Models(BaseModel):
    """The names that requests may use, in both shapes."""

    object: str = "list"
    data: list[Model]
    models: list[NamedModel]


class Status(BaseModel):
    """Whether the service is alive, or ready."""

    status: str
