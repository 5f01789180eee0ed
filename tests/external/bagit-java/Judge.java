import gov.loc.repository.bagit.domain.Bag;
import gov.loc.repository.bagit.reader.BagReader;
import gov.loc.repository.bagit.verify.BagVerifier;
import java.nio.file.Paths;

/** Says of each bag on the command line whether bagit-java finds it valid: "valid", or why not. */
public final class Judge {
    private Judge() {}

    public static void main(final String[] bags) throws Exception {
        final BagReader reader = new BagReader();
        try (BagVerifier verifier = new BagVerifier()) {
            for (final String folder : bags) {
                try {
                    final Bag bag = reader.read(Paths.get(folder));
                    verifier.isValid(bag, false);
                    System.out.println("valid");
                } catch (final Exception error) {
                    System.out.println(error.getClass().getSimpleName() + ": "
                        + String.valueOf(error.getMessage()).replaceAll("[\\r\\n]", " "));
                }
            }
        }
    }
}
