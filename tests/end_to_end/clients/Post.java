// java Post.java URL IMAGE MASK: posts an image as the body and in a form, and writes the mask.
// The client has its defaults, with which each request offers HTTP/2 by `Upgrade: h2c`.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

public class Post {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        URI address = URI.create(arguments[0]);
        byte[] image = Files.readAllBytes(Path.of(arguments[1]));
        byte[] mask = post(address, "image/png", BodyPublishers.ofByteArray(image));
        byte[] ofStream = post(address, "image/png", BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(image)));
        byte[] ofForm = post(address, "multipart/form-data; boundary=edge", BodyPublishers.ofByteArray(form(image)));
        if (!Arrays.equals(mask, ofStream) || !Arrays.equals(mask, ofForm)) {
            throw new IllegalStateException("the masks differ");
        }
        Files.write(Path.of(arguments[2]), mask);
    }

    private static byte[] post(URI address, String contentType, BodyPublisher body) throws Exception {
        var request = HttpRequest.newBuilder(address).header("Content-Type", contentType).POST(body).build();
        var response = CLIENT.send(request, BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(response.statusCode() + " " + new String(response.body(), "UTF-8"));
        }
        return response.body();
    }

    private static byte[] form(byte[] image) throws Exception {
        var form = new ByteArrayOutputStream();
        form.write("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n".getBytes("UTF-8"));
        form.write(image);
        form.write("\r\n--edge--\r\n".getBytes("UTF-8"));
        return form.toByteArray();
    }
}
