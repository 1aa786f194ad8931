"""Models of a few thousand random weights: everything about them is real but what they know."""


def llama(vocabulary, kind="LlamaForCausalLM", *, tokenizer=None, **options):
    """A Llama of ``vocabulary`` tokens.

    Args:
        vocabulary: How many tokens it knows.
        kind: Its class in transformers.
        tokenizer: Gives it the ids of the special tokens.
        options: Of its configuration, where they are not the smallest that will do.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    names = ("eos_token_id", "bos_token_id", "pad_token_id") if tokenizer else ()
    smallest = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        **{name: getattr(tokenizer, name) for name in names},
    }
    config = transformers.LlamaConfig(vocab_size=vocabulary, **smallest | options)
    return getattr(transformers, kind)(config).eval()


def causal(kind, tokenizer):
    """A causal language model of a few thousand weights that knows the tokens of ``tokenizer``.

    Args:
        kind: Its architecture: ``qwen2``, ``qwen3``, ``gemma``.
        tokenizer: Gives it the vocabulary.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.6,  # large enough to tell one text from another
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def listwise_embedder(tokenizer, folder):
    """A Qwen3 with a projector, saved as the checkpoints of listwise embedding rerankers are.

    Its configuration names code of its own, which is not there and must not be asked for.

    Args:
        tokenizer: Its vocabulary; two marks are added to a copy of it.
        folder: Where to.

    Returns:
        The folder.
    """
    import copy
    import json

    import torch
    from safetensors.torch import save_file

    tokenizer = copy.deepcopy(tokenizer)
    marks = ["<|embed_token|>", "<|rerank_token|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    model = causal("qwen3", tokenizer)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors.pop("lm_head.weight")
    tensors["projector.0.weight"] = torch.randn(8, 16)
    tensors["projector.2.weight"] = torch.randn(12, 8)
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    told = {"architectures": ["JinaForRanking"], "auto_map": {"AutoModel": "modeling.Own"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | told))
    return folder


def bert(words, folder, kind="BertForSequenceClassification", *, longest=64, **options):
    """A BERT that knows ``words``, saved into ``folder``.

    Args:
        words: Its vocabulary, special tokens first.
        folder: Where to.
        kind: Its class in transformers.
        longest: Tokens of a pair, by its tokenizer.
        options: Of its configuration, where they are not the smallest that will do.

    Returns:
        The model and its tokenizer.
    """
    import torch
    import transformers

    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=longest)
    torch.manual_seed(0)
    smallest = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    config = transformers.BertConfig(vocab_size=len(words), **smallest | options)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def characters(template="{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"):
    """A tokenizer of single printable characters and the control tokens ``<s>`` and ``</s>``.

    Args:
        template: Its chat template.
    """
    import string

    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = [
        "<unk>",
        "<s>",
        "</s>",
        *string.digits,
        *string.ascii_letters,
        *string.punctuation,
    ]
    ids = {token: i for i, token in enumerate([*vocabulary, " ", "\n"])}
    raw = Tokenizer(models.BPE(vocab=ids, merges=[], unk_token="<unk>"))
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=1000,
    )
    tokenizer.chat_template = template
    return tokenizer


def modular_reranker(folder):
    """A cross-encoder of sentence-transformers, saved: a ModernBERT and a head of four modules.

    Args:
        folder: Where to.

    Returns:
        The folder.
    """
    import torch
    import transformers
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "flea", "sea", "yes", "no", "far"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    )
    encoder = transformers.ModernBertModel(config).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(5)  # large enough to tell one text from another
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [
        Transformer(str(folder)),
        Pooling(16, pooling_mode="cls"),
        Dense(16, 16, bias=False, activation_function=torch.nn.GELU()),
        LayerNorm(16),
        Dense(16, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    CrossEncoder(modules=modules, device="cpu").save(str(folder))
    return folder
