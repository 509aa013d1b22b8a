from fastapi.testclient import TestClient

from tests.support.open_inference import MODEL


def test_the_server_and_its_model_describe_themselves(client: TestClient):
    assert "binary_tensor_data" in client.get("/v2").json()["extensions"]
    told = client.get(MODEL).json()
    assert (told["name"], told["versions"], told["platform"]) == ("small-net", ["1"], "openvino")
    tensors = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in told["inputs"] + told["outputs"]}
    assert tensors == {
        "image": ("BYTES", [-1]),
        "input": ("FP32", [-1, 1, -1, -1]),
        "mask": ("UINT8", [-1, 1, -1, -1]),
        "probability": ("FP32", [-1, 1, -1, -1]),
        "mask_png": ("BYTES", [-1]),
    }
    assert client.get(f"{MODEL}/versions/1").json() == told
    config = client.get(f"{MODEL}/config").json()
    assert [tensor["data_type"] for tensor in config["input"]] == ["TYPE_STRING", "TYPE_FP32"]
